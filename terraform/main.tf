# Two machines in one public subnet: `api` decides and watches, `admin` operates and stores.
#
#   network.tf   who may reach what        storage.tf    the data volume and the buckets
#   compute.tf   the machines              identity.tf   what the machines may do in the buckets
#   budget.tf    a mail before it costs    cloud-init/   what a machine does at its first boot

locals {
  compartment_id      = coalesce(var.compartment_ocid, var.tenancy_ocid)
  availability_domain = data.oci_identity_availability_domains.here.availability_domains[var.availability_domain - 1].name

  tags = merge(var.tags, {
    project    = var.name
    managed-by = "terraform"
  })

  private_ips = {
    api   = var.api_private_ip
    admin = var.admin_private_ip
  }
}

data "oci_identity_availability_domains" "here" {
  compartment_id = var.tenancy_ocid

  lifecycle {
    postcondition {
      condition     = length(self.availability_domains) >= var.availability_domain
      error_message = "${var.region} has ${length(self.availability_domains)} availability domain(s): lower availability_domain."
    }
  }
}

data "oci_objectstorage_namespace" "here" {
  compartment_id = var.tenancy_ocid
}

# A warning and no error: paying for more is allowed, doing so unknowingly is not.
check "always_free" {
  assert {
    condition     = var.shape == "VM.Standard.E2.1.Micro" || (2 * var.ocpus <= 2 && 2 * var.memory_gb <= 12)
    error_message = "Two machines of ${var.ocpus} OCPU(s) and ${var.memory_gb} GB cost money: Always Free ends at 2 OCPUs and 12 GB in all."
  }

  assert {
    condition     = 2 * var.boot_volume_gb + var.data_volume_gb <= 200
    error_message = "${2 * var.boot_volume_gb + var.data_volume_gb} GB of volumes cost money: Always Free ends at 200 GB."
  }

  assert {
    # One more exists while the oldest is on its way out.
    condition     = var.volume_backup_retention_days < 5
    error_message = "${var.volume_backup_retention_days} daily backups of the data volume cost money: Always Free ends at five."
  }
}
