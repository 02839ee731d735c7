# The newest image of Ubuntu that the shape can start; for A1 that is one for ARM.
data "oci_core_images" "ubuntu" {
  compartment_id           = local.compartment_id
  operating_system         = "Canonical Ubuntu"
  operating_system_version = "24.04"
  shape                    = var.shape
  sort_by                  = "TIMECREATED"
  sort_order               = "DESC"
  state                    = "AVAILABLE"

  lifecycle {
    postcondition {
      condition     = length(self.images) > 0
      error_message = "${var.region} has no image of Ubuntu 24.04 for ${var.shape}."
    }
  }
}

locals {
  # What the machines know about their surroundings. No secrets: user_data can be read on the machine by any process,
  # and lies in the state. The machines make their own secrets, and hand over through a bucket what both need.
  host_env = {
    API_DOMAIN       = var.api_domain
    ADMIN_DOMAIN     = var.admin_domain
    ACME_EMAIL       = var.operator_email
    OPERATOR_EMAIL   = var.operator_email
    API_PRIVATE_IP   = var.api_private_ip
    ADMIN_PRIVATE_IP = var.admin_private_ip
    REPOSITORY_URL   = var.repository_url
    REPOSITORY_REF   = var.repository_ref
    IMAGE_PREFIX     = var.image_prefix
    IMAGE_TAG        = var.image_tag
    BACKUP_BUCKET    = oci_objectstorage_bucket.backups.name
    HANDOVER_BUCKET  = oci_objectstorage_bucket.handover.name
    OBJECT_NAMESPACE = data.oci_objectstorage_namespace.here.namespace
    REGION           = var.region
    COMPARTMENT_ID   = local.compartment_id
  }

  role_env = {
    api   = { ROLE = "api" }
    admin = { ROLE = "admin", DATA_DEVICE = local.data_device }
  }

  # Apart from each other, so that a fix of the kernel never takes both away at once.
  reboot_at = { api = "05:00", admin = "04:00" }

  user_data = {
    for role, env in local.role_env : role => base64gzip(templatefile("${path.module}/cloud-init/user-data.yaml.tftpl", {
      host_env  = merge(local.host_env, env)
      reboot_at = local.reboot_at[role]
      setup     = file("${path.module}/cloud-init/setup.sh")
      swap_gb   = var.shape == "VM.Standard.E2.1.Micro" || var.memory_gb < 4 ? 2 : 0
    }))
  }

  ssh_authorized_keys = join("\n", var.ssh_public_keys)
}

resource "oci_core_instance" "machine" {
  #checkov:skip=CKV_OCI_4:encryption in transit is is_pv_encryption_in_transit_enabled below; checkov reads launch_options only
  for_each = local.private_ips

  compartment_id                      = local.compartment_id
  availability_domain                 = local.availability_domain
  display_name                        = "${var.name}-${each.key}"
  shape                               = var.shape
  is_pv_encryption_in_transit_enabled = var.encrypt_in_transit
  preserve_boot_volume                = false
  freeform_tags                       = merge(local.tags, { role = each.key })

  dynamic "shape_config" {
    for_each = var.shape == "VM.Standard.A1.Flex" ? [1] : []

    content {
      ocpus         = var.ocpus
      memory_in_gbs = var.memory_gb
    }
  }

  create_vnic_details {
    subnet_id        = oci_core_subnet.public.id
    private_ip       = each.value
    assign_public_ip = false # it gets a reserved one, below
    display_name     = "${var.name}-${each.key}"
    freeform_tags    = merge(local.tags, { role = each.key })
    nsg_ids = [
      oci_core_network_security_group.group["public"].id,
      oci_core_network_security_group.group[each.key].id,
    ]
  }

  source_details {
    source_type             = "image"
    source_id               = data.oci_core_images.ubuntu.images[0].id
    boot_volume_size_in_gbs = var.boot_volume_gb
  }

  instance_options {
    are_legacy_imds_endpoints_disabled = true
  }

  metadata = {
    ssh_authorized_keys = local.ssh_authorized_keys
    user_data           = local.user_data[each.key]
  }

  lifecycle {
    # Each of these would replace the machine, and with it Redis, its certificates and Prometheus' history, for a newer
    # image or a domain in terraform.tfvars. A running machine is changed on the machine: unattended upgrades,
    # /etc/rate-limiter/host.env and deploy/bootstrap.sh, ~/.ssh/authorized_keys. To replace one on purpose:
    # terraform apply -replace='oci_core_instance.machine["api"]'. The database outlives it, on its own volume.
    ignore_changes = [metadata, source_details[0].source_id]

    precondition {
      condition     = length(local.user_data[each.key]) + length(local.ssh_authorized_keys) <= 32000
      error_message = "user_data and SSH keys exceed Oracle's 32,000 bytes of metadata: give fewer ssh_public_keys."
    }
  }
}

data "oci_core_private_ips" "machine" {
  for_each = local.private_ips

  subnet_id  = oci_core_subnet.public.id
  ip_address = each.value

  depends_on = [oci_core_instance.machine]
}

# Reserved, so that a machine that is replaced keeps its address, and DNS stays true.
resource "oci_core_public_ip" "machine" {
  for_each = local.private_ips

  compartment_id = local.compartment_id
  display_name   = "${var.name}-${each.key}"
  lifetime       = "RESERVED"
  private_ip_id  = data.oci_core_private_ips.machine[each.key].private_ips[0].id
  freeform_tags  = merge(local.tags, { role = each.key })
}
