# The machines: free by default, hardened, and told nothing secret.

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

run "by_default" {
  command = apply

  assert {
    condition = (
      toset(keys(oci_core_instance.machine)) == toset(["api", "admin"]) &&
      alltrue([for machine in values(oci_core_instance.machine) :
      machine.shape == "VM.Standard.E2.1.Micro" && length(machine.shape_config) == 0])
    )
    error_message = "Two machines of the free shape, which takes no shape_config."
  }

  assert {
    condition = sum(concat(
      [for machine in values(oci_core_instance.machine) : tonumber(machine.source_details[0].boot_volume_size_in_gbs)],
      [tonumber(oci_core_volume.data.size_in_gbs)],
    )) <= 200
    error_message = "All volumes together are free."
  }

  assert {
    condition = alltrue([
      for machine in values(oci_core_instance.machine) :
      machine.instance_options[0].are_legacy_imds_endpoints_disabled && machine.is_pv_encryption_in_transit_enabled &&
      !machine.preserve_boot_volume && machine.source_details[0].source_id == "ocid1.image.newest"
    ])
    error_message = "No old metadata endpoint, encryption in transit, no boot volume left behind, the newest image."
  }

  assert {
    condition = alltrue([
      for role, machine in oci_core_instance.machine :
      machine.create_vnic_details[0].assign_public_ip == "false" &&
      machine.create_vnic_details[0].private_ip == { api = "10.0.0.10", admin = "10.0.0.20" }[role] &&
      toset(machine.create_vnic_details[0].nsg_ids) == toset([
        oci_core_network_security_group.group["public"].id, oci_core_network_security_group.group[role].id,
      ])
    ])
    error_message = "Each machine has its own fixed private address, and its own group beside the public one."
  }

  assert {
    condition = alltrue([
      for address in values(oci_core_public_ip.machine) :
      address.lifetime == "RESERVED" && address.private_ip_id == "ocid1.privateip.primary"
    ])
    error_message = "Reserved addresses."
  }

  assert {
    condition = alltrue([
      for machine in values(oci_core_instance.machine) :
      length(machine.metadata.user_data) + length(machine.metadata.ssh_authorized_keys) <= 32000
    ])
    error_message = "Oracle takes 32,000 bytes of metadata."
  }

  assert {
    # What bootstrap.sh finds in host.env is all that Terraform says to a machine, and none of it is a secret.
    condition = toset(concat(keys(local.host_env), keys(local.role_env.api), keys(local.role_env.admin))) == toset([
      "ROLE", "API_DOMAIN", "ADMIN_DOMAIN", "ACME_EMAIL", "OPERATOR_EMAIL", "API_PRIVATE_IP", "ADMIN_PRIVATE_IP",
      "REPOSITORY_URL", "REPOSITORY_REF", "IMAGE_PREFIX", "IMAGE_TAG", "BACKUP_BUCKET", "HANDOVER_BUCKET",
      "OBJECT_NAMESPACE", "REGION", "COMPARTMENT_ID", "DATA_DEVICE",
    ])
    error_message = "host.env has other variables than those that are known to be no secrets."
  }
}

run "arm" {
  command = apply

  variables {
    shape = "VM.Standard.A1.Flex"
  }

  assert {
    condition = alltrue([
      for machine in values(oci_core_instance.machine) :
      machine.shape_config[0].ocpus == 1 && machine.shape_config[0].memory_in_gbs == 6
    ])
    error_message = "ARM machines are within the free limits by default."
  }
}

run "beyond_free_cores" {
  command = plan

  variables {
    shape = "VM.Standard.A1.Flex"
    ocpus = 2
  }

  expect_failures = [check.always_free]
}

run "beyond_free_memory" {
  command = plan

  variables {
    shape     = "VM.Standard.A1.Flex"
    memory_gb = 12
  }

  expect_failures = [check.always_free]
}

run "beyond_free_volumes" {
  command = plan

  variables {
    data_volume_gb = 101
  }

  expect_failures = [check.always_free]
}

run "beyond_free_backups" {
  command = plan

  variables {
    volume_backup_retention_days = 5
  }

  expect_failures = [check.always_free]
}

run "too_many_keys" {
  command = plan

  variables {
    ssh_public_keys = [for n in range(400) : "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexampleexampleexampleexampleexample key-${n}@example.com"]
  }

  expect_failures = [oci_core_instance.machine]
}

run "domain_missing_here" {
  command = plan

  variables {
    availability_domain = 2
  }

  expect_failures = [data.oci_identity_availability_domains.here]
}
