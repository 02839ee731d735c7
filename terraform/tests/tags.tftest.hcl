# Every resource that can have tags has ours; tests/terraform finds one that this list lacks.

mock_provider "oci" {
  source = "./tests/mocks"
}

variables {
  tenancy_ocid    = "ocid1.tenancy.oc1..aaaa"
  region          = "eu-frankfurt-1"
  admin_cidr      = "203.0.113.7/32"
  ssh_public_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample alice@example.com"]
  operator_email  = "alice@example.com"
  repository_url  = "https://github.com/alice/rate-limiter"
  image_prefix    = "alice/"
  monthly_budget  = 1
  tags            = { team = "platform" }
}

run "tags" {
  command = apply

  assert {
    condition = alltrue([
      for resource in concat(
        [
          oci_core_vcn.this, oci_core_internet_gateway.this, oci_core_route_table.public, oci_core_subnet.public,
          oci_core_default_security_list.nothing, oci_core_volume.data, oci_core_volume_backup_policy.daily,
          oci_objectstorage_bucket.backups, oci_objectstorage_bucket.handover, oci_identity_policy.this,
          oci_budget_budget.monthly[0], oci_budget_alert_rule.first_cent[0],
        ],
        values(oci_core_network_security_group.group),
        values(oci_core_instance.machine),
        [for machine in values(oci_core_instance.machine) : machine.create_vnic_details[0]],
        values(oci_core_public_ip.machine),
        values(oci_identity_dynamic_group.machine),
      ) :
      resource.freeform_tags["project"] == "rate-limiter" && resource.freeform_tags["managed-by"] == "terraform" &&
      resource.freeform_tags["team"] == "platform"
    ])
    error_message = "Every resource is tagged with project, managed-by, and the tags of the variable."
  }

  assert {
    condition = alltrue(flatten([
      [for role, machine in oci_core_instance.machine : machine.freeform_tags["role"] == role],
      [for role, address in oci_core_public_ip.machine : address.freeform_tags["role"] == role],
      [for role, group in oci_core_network_security_group.group : group.freeform_tags["role"] == role],
      [for role, group in oci_identity_dynamic_group.machine : group.freeform_tags["role"] == role],
      [oci_core_volume.data.freeform_tags["role"] == "admin"],
    ]))
    error_message = "What belongs to one role says so."
  }
}
