# The machines have identities of their own: no key of a user lies on either.
resource "oci_identity_dynamic_group" "machine" {
  for_each = oci_core_instance.machine

  compartment_id = var.tenancy_ocid # Oracle keeps them at the root
  name           = "${var.name}-${each.key}"
  description    = "The ${each.key} machine of ${var.name}"
  matching_rule  = "ALL {instance.id = '${each.value.id}'}"
  freeform_tags  = merge(local.tags, { role = each.key })
}

locals {
  api_machine   = "dynamic-group ${oci_identity_dynamic_group.machine["api"].name}"
  admin_machine = "dynamic-group ${oci_identity_dynamic_group.machine["admin"].name}"
  here          = local.compartment_id == var.tenancy_ocid ? "tenancy" : "compartment id ${local.compartment_id}"
  handover      = "target.bucket.name = '${oci_objectstorage_bucket.handover.name}'"
  backups       = "target.bucket.name = '${oci_objectstorage_bucket.backups.name}'"

  # Without OBJECT_OVERWRITE and OBJECT_DELETE whoever breaks into the machine cannot take the backups with him.
  add_only = ["OBJECT_INSPECT", "OBJECT_READ", "OBJECT_CREATE"]
  emptying = var.allow_emptying_buckets ? ["OBJECT_DELETE"] : []
}

resource "oci_identity_policy" "this" {
  compartment_id = local.compartment_id
  name           = var.name
  description    = "What the machines of ${var.name} and the retention of its backups may do"
  freeform_tags  = local.tags

  statements = [
    "Allow ${local.api_machine} to read buckets in ${local.here} where ${local.handover}",
    "Allow ${local.api_machine} to read objects in ${local.here} where ${local.handover}",
    "Allow ${local.admin_machine} to read buckets in ${local.here} where any {${local.handover}, ${local.backups}}",
    "Allow ${local.admin_machine} to manage objects in ${local.here} where ${local.handover}",
    "Allow ${local.admin_machine} to {${join(", ", concat(local.add_only, local.emptying))}} in ${local.here} where ${local.backups}",
    "Allow service objectstorage-${var.region} to manage object-family in ${local.here}",
  ]
}
