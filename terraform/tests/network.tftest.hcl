# Who may reach what: of all rules together, and of each by itself.

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

run "rules" {
  command = apply

  assert {
    condition = toset([
      for rule in values(oci_core_network_security_group_security_rule.from_outside) :
      rule.tcp_options[0].destination_port_range[0].min if rule.source == "0.0.0.0/0"
    ]) == toset([80, 443])
    error_message = "The world reaches 80 and 443 and no other port."
  }

  assert {
    condition = alltrue([
      for rule in values(oci_core_network_security_group_security_rule.from_outside) :
      rule.direction == "INGRESS" && rule.protocol == "6" && rule.source_type == "CIDR_BLOCK" &&
      rule.tcp_options[0].destination_port_range[0].min == rule.tcp_options[0].destination_port_range[0].max
    ])
    error_message = "What comes from outside is one TCP port a rule."
  }

  assert {
    condition = [
      for rule in values(oci_core_network_security_group_security_rule.from_outside) :
      rule.source if rule.tcp_options[0].destination_port_range[0].min == 22
    ] == ["203.0.113.7/32"]
    error_message = "SSH is for admin_cidr alone."
  }

  assert {
    condition     = oci_core_network_security_group_security_rule.path_mtu.protocol == "1"
    error_message = "The only other thing from outside is ICMP, which has no ports."
  }

  assert {
    condition = {
      for name, rule in oci_core_network_security_group_security_rule.between_in :
      name => [rule.source, rule.network_security_group_id, rule.tcp_options[0].destination_port_range[0].min]
      } == {
      postgresql    = [oci_core_network_security_group.group["api"].id, oci_core_network_security_group.group["admin"].id, 5432]
      admin-metrics = [oci_core_network_security_group.group["api"].id, oci_core_network_security_group.group["admin"].id, 8001]
      management    = [oci_core_network_security_group.group["admin"].id, oci_core_network_security_group.group["api"].id, 8000]
    }
    error_message = "PostgreSQL and the admin's metrics are for the API machine, the management API for the admin machine."
  }

  assert {
    condition = alltrue([
      for rule in values(oci_core_network_security_group_security_rule.between_in) :
      rule.direction == "INGRESS" && rule.protocol == "6" && rule.source_type == "NETWORK_SECURITY_GROUP" &&
      rule.tcp_options[0].destination_port_range[0].min == rule.tcp_options[0].destination_port_range[0].max
    ])
    error_message = "Between the machines goes one TCP port a rule, from a group."
  }

  assert {
    condition = alltrue([
      for name, rule in oci_core_network_security_group_security_rule.between_out :
      rule.direction == "EGRESS" && rule.destination_type == "NETWORK_SECURITY_GROUP" &&
      rule.network_security_group_id == oci_core_network_security_group_security_rule.between_in[name].source &&
      rule.destination == oci_core_network_security_group_security_rule.between_in[name].network_security_group_id &&
      rule.tcp_options[0].destination_port_range[0] == oci_core_network_security_group_security_rule.between_in[name].tcp_options[0].destination_port_range[0]
    ])
    error_message = "What one machine lets in, the other lets out."
  }

  assert {
    condition = alltrue(concat(
      [for rule in values(oci_core_network_security_group_security_rule.from_outside) : rule.stateless != true],
      [for rule in values(oci_core_network_security_group_security_rule.between_in) : rule.stateless != true],
      [for rule in values(oci_core_network_security_group_security_rule.to_outside) : rule.stateless != true],
    ))
    error_message = "Answers find their way back: the rules are stateful."
  }

  assert {
    condition = toset([
      for rule in values(oci_core_network_security_group_security_rule.to_outside) : rule.tcp_options[0].destination_port_range[0].min
    ]) == toset([80, 443])
    error_message = "The machines call out by HTTP and HTTPS only."
  }

  assert {
    condition = (
      length(oci_core_default_security_list.nothing.ingress_security_rules) == 0 &&
      length(oci_core_default_security_list.nothing.egress_security_rules) == 0 &&
      oci_core_subnet.public.security_list_ids == toset([oci_core_default_security_list.nothing.id])
    )
    error_message = "The default security list, which allows SSH from everywhere, is emptied."
  }
}

run "runner" {
  command = apply

  variables {
    deploy_cidr = "198.51.100.0/24"
  }

  assert {
    condition = toset([
      for rule in values(oci_core_network_security_group_security_rule.from_outside) :
      rule.source if rule.tcp_options[0].destination_port_range[0].min == 22
    ]) == toset(["203.0.113.7/32", "198.51.100.0/24"])
    error_message = "A runner that rolls out has a rule of its own."
  }
}
