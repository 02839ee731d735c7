locals {
  data_device = "/dev/oracleoci/oraclevdb"
}

# PostgreSQL's data. The volume is none of the machine's: a machine that is replaced finds it again.
resource "oci_core_volume" "data" {
  #checkov:skip=CKV_OCI_2:it is backed up by oci_core_volume_backup_policy_assignment.data; checkov reads backup_policy_id only
  #checkov:skip=CKV_OCI_3:Oracle's own key encrypts it; a key of ours would have to be guarded, and could be lost
  compartment_id      = local.compartment_id
  availability_domain = local.availability_domain
  display_name        = "${var.name}-data"
  size_in_gbs         = var.data_volume_gb
  vpus_per_gb         = 10 # Always Free has no faster one
  freeform_tags       = merge(local.tags, { role = "admin" })
}

resource "oci_core_volume_attachment" "data" {
  instance_id                         = oci_core_instance.machine["admin"].id
  volume_id                           = oci_core_volume.data.id
  attachment_type                     = "paravirtualized"
  device                              = local.data_device
  display_name                        = "${var.name}-data"
  is_pv_encryption_in_transit_enabled = var.encrypt_in_transit
}

# A policy of our own: those that Oracle offers keep more backups than are free.
resource "oci_core_volume_backup_policy" "daily" {
  compartment_id = local.compartment_id
  display_name   = "${var.name}-daily"
  freeform_tags  = local.tags

  schedules {
    backup_type       = "INCREMENTAL"
    period            = "ONE_DAY"
    hour_of_day       = 3
    offset_type       = "STRUCTURED"
    time_zone         = "UTC"
    retention_seconds = var.volume_backup_retention_days * 24 * 60 * 60
  }
}

resource "oci_core_volume_backup_policy_assignment" "data" {
  asset_id  = oci_core_volume.data.id
  policy_id = oci_core_volume_backup_policy.daily.id
}

# No versions: `terraform destroy` could not end where deleted objects live on as old ones. What versions would guard
# against, identity.tf rules out: the machine adds objects to this bucket, and neither overwrites nor deletes one.
resource "oci_objectstorage_bucket" "backups" {
  #checkov:skip=CKV_OCI_7:nothing listens for events
  #checkov:skip=CKV_OCI_8:see above: objects are added, never overwritten or deleted by a machine
  #checkov:skip=CKV_OCI_9:Oracle's own key encrypts it; a key of ours that is lost would take all backups with it
  compartment_id = local.compartment_id
  namespace      = data.oci_objectstorage_namespace.here.namespace
  name           = "${var.name}-backups"
  access_type    = "NoPublicAccess"
  storage_tier   = "Standard"
  versioning     = "Disabled"
  freeform_tags  = local.tags
}

# What one machine makes and the other needs: the API role's password, the management token, PostgreSQL's CA.
resource "oci_objectstorage_bucket" "handover" {
  #checkov:skip=CKV_OCI_7:nothing listens for events
  #checkov:skip=CKV_OCI_8:a secret that was replaced shall be gone
  #checkov:skip=CKV_OCI_9:Oracle's own key encrypts it; who may read the bucket decides, and that is one machine
  compartment_id = local.compartment_id
  namespace      = data.oci_objectstorage_namespace.here.namespace
  name           = "${var.name}-handover"
  access_type    = "NoPublicAccess"
  storage_tier   = "Standard"
  versioning     = "Disabled"
  freeform_tags  = local.tags
}

resource "oci_objectstorage_object_lifecycle_policy" "backups" {
  namespace = oci_objectstorage_bucket.backups.namespace
  bucket    = oci_objectstorage_bucket.backups.name

  dynamic "rules" {
    for_each = { dumps = var.backup_retention_days, archive = var.archive_retention_days }

    content {
      name        = "delete-${rules.key}"
      action      = "DELETE"
      target      = "objects"
      is_enabled  = true
      time_amount = rules.value
      time_unit   = "DAYS"

      object_name_filter {
        inclusion_prefixes = ["${rules.key}/"]
      }
    }
  }

  depends_on = [oci_identity_policy.this] # Oracle refuses the rules until the service may delete
}
