# Every variable refuses what cannot be meant. Runs share bad values, for each variable answers for itself.

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

run "of_another_kind" {
  command = plan

  variables {
    tenancy_ocid                 = "ocid1.user.oc1..aaaa"
    compartment_ocid             = "my-compartment"
    region                       = "Frankfurt"
    oci_profile                  = "[DEFAULT]"
    name                         = "Rate_Limiter"
    tags                         = { "two words" = "x" }
    monthly_budget               = -1
    admin_cidr                   = "0.0.0.0/0"
    deploy_cidr                  = "0.0.0.0/0"
    network_cidr                 = "172.17.0.0/24"
    shape                        = "VM.Standard.E4.Flex"
    ocpus                        = 0.5
    availability_domain          = 4
    boot_volume_gb               = 46
    ssh_public_keys              = []
    data_volume_gb               = 49
    volume_backup_retention_days = 0
    backup_retention_days        = 0
    archive_retention_days       = 1.5
    api_domain                   = "https://api.example.com"
    operator_email               = "alice"
    repository_url               = "git@github.com:alice/rate-limiter.git"
    repository_ref               = "--upload-pack=x"
    image_prefix                 = "alice"
    image_tag                    = "a tag"
  }

  expect_failures = [
    var.tenancy_ocid, var.compartment_ocid, var.region, var.oci_profile, var.name, var.tags, var.monthly_budget,
    var.admin_cidr, var.deploy_cidr, var.network_cidr, var.shape, var.ocpus,
    var.availability_domain, var.boot_volume_gb, var.ssh_public_keys, var.data_volume_gb,
    var.volume_backup_retention_days, var.backup_retention_days, var.archive_retention_days, var.api_domain,
    var.operator_email, var.repository_url, var.repository_ref, var.image_prefix, var.image_tag,
  ]
}

run "out_of_bounds" {
  command = plan

  variables {
    tags                         = { role = "mine" }
    monthly_budget               = 0.5
    admin_cidr                   = "203.0.0.0/15"
    deploy_cidr                  = "2001:db8::/32"
    network_cidr                 = "10.0.0.0/29"
    ocpus                        = 81
    boot_volume_gb               = 1001
    ssh_public_keys              = ["-----BEGIN OPENSSH PRIVATE KEY-----"] # pragma: allowlist secret
    data_volume_gb               = 1001
    volume_backup_retention_days = 91
    backup_retention_days        = 3651
    archive_retention_days       = 3651
    api_domain                   = "same.example.com"
    admin_domain                 = "same.example.com"
    repository_url               = "https://alice@github.com/alice/rate-limiter"
    image_prefix                 = "Alice/"
  }

  expect_failures = [
    var.tags, var.monthly_budget, var.admin_cidr, var.deploy_cidr, var.network_cidr,
    var.ocpus, var.boot_volume_gb, var.ssh_public_keys, var.data_volume_gb,
    var.volume_backup_retention_days, var.backup_retention_days, var.archive_retention_days, var.admin_domain,
    var.repository_url, var.image_prefix,
  ]
}

run "against_each_other" {
  command = plan

  variables {
    admin_private_ip = "10.0.0.255"
    memory_gb        = 65
    admin_domain     = "admin_example"
  }

  expect_failures = [var.admin_private_ip, var.memory_gb, var.admin_domain]
}

run "address_of_oracle" {
  command = plan

  variables {
    api_private_ip = "10.0.0.1"
    memory_gb      = 6.5
  }

  expect_failures = [var.api_private_ip, var.memory_gb]
}

run "address_of_another_network" {
  command = plan

  variables {
    api_private_ip = "10.0.1.10"
  }

  expect_failures = [var.api_private_ip]
}

run "no_address" {
  command = plan

  variables {
    admin_private_ip = "10.0.0"
  }

  expect_failures = [var.admin_private_ip]
}

run "one_address_for_two" {
  command = plan

  variables {
    admin_private_ip = "10.0.0.10"
  }

  expect_failures = [var.admin_private_ip]
}

run "what_is_meant" {
  command = plan

  variables {
    compartment_ocid = "ocid1.compartment.oc1..bbbb"
    region           = "us-gov-ashburn-1"
    admin_cidr       = "198.51.0.0/16"
    deploy_cidr      = "198.51.100.4/32"
    network_cidr     = "10.20.30.0/28"
    api_private_ip   = "10.20.30.2"
    admin_private_ip = "10.20.30.14"
    api_domain       = "api.rate-limiter.example.com"
    admin_domain     = "admin.example.co"
    repository_url   = "https://git.example.com:8443/group/sub/rate-limiter.git"
    repository_ref   = "release/1.0"
    image_prefix     = "registry.example.com:5000/team/"
    image_tag        = "0123456789abcdef0123456789abcdef01234567" # pragma: allowlist secret
    ssh_public_keys = [
      "ssh-rsa AAAAB3NzaC1yc2E=",
      "sk-ssh-ed25519@openssh.com AAAAGnNr alice@example.com",
      "ecdsa-sha2-nistp256 AAAAE2Vj a comment of words",
    ]
  }

  assert {
    condition     = length(output.dns_records) == 2
    error_message = "Each domain has its record."
  }
}
