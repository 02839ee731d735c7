# Data, backups, and who may touch them.

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
}

run "storage" {
  command = apply

  assert {
    condition = (
      oci_core_volume_attachment.data.instance_id == oci_core_instance.machine["admin"].id &&
      oci_core_volume_attachment.data.device == "/dev/oracleoci/oraclevdb" &&
      oci_core_volume_attachment.data.attachment_type == "paravirtualized" &&
      oci_core_volume_attachment.data.is_pv_encryption_in_transit_enabled
    )
    error_message = "The data volume is at the admin machine, encrypted on its way."
  }

  assert {
    condition = (
      oci_core_volume_backup_policy_assignment.data.asset_id == oci_core_volume.data.id &&
      [for schedule in oci_core_volume_backup_policy.daily.schedules : [schedule.period, schedule.retention_seconds]] == [["ONE_DAY", 345600]]
    )
    error_message = "The data volume is backed up daily, and a backup kept for four days."
  }

  assert {
    condition = alltrue([
      for bucket in [oci_objectstorage_bucket.backups, oci_objectstorage_bucket.handover] :
      bucket.access_type == "NoPublicAccess" && bucket.versioning == "Disabled"
    ])
    error_message = "Private buckets; with versions `terraform destroy` could not end."
  }

  assert {
    condition = {
      for rule in oci_objectstorage_object_lifecycle_policy.backups.rules :
      one(rule.object_name_filter[0].inclusion_prefixes) => [rule.action, rule.time_amount, rule.time_unit]
    } == { "dumps/" = ["DELETE", "30", "DAYS"], "archive/" = ["DELETE", "365", "DAYS"] }
    error_message = "Dumps are kept for 30 days, archives for a year."
  }
}

run "rights" {
  command = apply

  assert {
    condition = {
      for role, group in oci_identity_dynamic_group.machine : role => group.matching_rule
    } == { for role, machine in oci_core_instance.machine : role => "ALL {instance.id = '${machine.id}'}" }
    error_message = "Each group is exactly its machine."
  }

  assert {
    condition = toset(oci_identity_policy.this.statements) == toset([
      "Allow dynamic-group rate-limiter-api to read buckets in tenancy where target.bucket.name = 'rate-limiter-handover'",
      "Allow dynamic-group rate-limiter-api to read objects in tenancy where target.bucket.name = 'rate-limiter-handover'",
      "Allow dynamic-group rate-limiter-admin to read buckets in tenancy where any {target.bucket.name = 'rate-limiter-handover', target.bucket.name = 'rate-limiter-backups'}",
      "Allow dynamic-group rate-limiter-admin to manage objects in tenancy where target.bucket.name = 'rate-limiter-handover'",
      "Allow dynamic-group rate-limiter-admin to {OBJECT_INSPECT, OBJECT_READ, OBJECT_CREATE} in tenancy where target.bucket.name = 'rate-limiter-backups'",
      "Allow service objectstorage-eu-frankfurt-1 to manage object-family in tenancy",
    ])
    error_message = "The API machine reads the handover, the admin machine writes it and adds backups; nothing else."
  }
}

run "rights_before_destroy" {
  command = apply

  variables {
    allow_emptying_buckets = true
    compartment_ocid       = "ocid1.compartment.oc1..bbbb"
  }

  assert {
    condition = contains(
      oci_identity_policy.this.statements,
      "Allow dynamic-group rate-limiter-admin to {OBJECT_INSPECT, OBJECT_READ, OBJECT_CREATE, OBJECT_DELETE} in compartment id ocid1.compartment.oc1..bbbb where target.bucket.name = 'rate-limiter-backups'",
    )
    error_message = "Backups can be deleted when that was asked for, in the compartment that was named."
  }

  assert {
    condition     = alltrue([for group in values(oci_identity_dynamic_group.machine) : group.compartment_id == var.tenancy_ocid])
    error_message = "Dynamic groups live at the root."
  }
}

run "no_budget" {
  command = plan

  assert {
    condition     = length(oci_budget_budget.monthly) + length(oci_budget_alert_rule.first_cent) == 0
    error_message = "No budget unless one is asked for."
  }
}

run "budget" {
  command = apply

  variables {
    monthly_budget = 1
  }

  assert {
    condition = (
      oci_budget_budget.monthly[0].amount == 1 && oci_budget_budget.monthly[0].targets == tolist([var.tenancy_ocid]) &&
      oci_budget_alert_rule.first_cent[0].budget_id == oci_budget_budget.monthly[0].id
    )
    error_message = "A mail at the first hundredth of the account's budget."
  }
}
