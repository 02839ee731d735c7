resource "oci_core_vcn" "this" {
  compartment_id = local.compartment_id
  display_name   = var.name
  cidr_blocks    = [var.network_cidr]
  freeform_tags  = local.tags
}

resource "oci_core_internet_gateway" "this" {
  compartment_id = local.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = var.name
  freeform_tags  = local.tags
}

resource "oci_core_route_table" "public" {
  compartment_id = local.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = "${var.name}-public"
  freeform_tags  = local.tags

  route_rules {
    description       = "All that is not ours"
    destination       = "0.0.0.0/0"
    destination_type  = "CIDR_BLOCK"
    network_entity_id = oci_core_internet_gateway.this.id
  }
}

# Oracle's default list lets the whole world at port 22. Emptied, only the groups below say who may reach what.
resource "oci_core_default_security_list" "nothing" {
  manage_default_resource_id = oci_core_vcn.this.default_security_list_id
  compartment_id             = local.compartment_id
  display_name               = "${var.name}-nothing"
  freeform_tags              = local.tags
}

resource "oci_core_subnet" "public" {
  compartment_id             = local.compartment_id
  vcn_id                     = oci_core_vcn.this.id
  display_name               = "${var.name}-public"
  cidr_block                 = var.network_cidr
  route_table_id             = oci_core_route_table.public.id
  security_list_ids          = [oci_core_default_security_list.nothing.id]
  prohibit_public_ip_on_vnic = false
  freeform_tags              = local.tags
}

# `public` holds both machines, `api` and `admin` one each.
resource "oci_core_network_security_group" "group" {
  for_each = toset(["public", "api", "admin"])

  compartment_id = local.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = "${var.name}-${each.key}"
  freeform_tags  = merge(local.tags, { role = each.key })
}

locals {
  from_outside = merge(
    {
      http  = { source = "0.0.0.0/0", port = 80, description = "nginx: to HTTPS, and Let's Encrypt's challenges" }
      https = { source = "0.0.0.0/0", port = 443, description = "nginx" }
      ssh   = { source = var.admin_cidr, port = 22, description = "Operators" }
    },
    var.deploy_cidr == null ? {} : {
      deploy = { source = var.deploy_cidr, port = 22, description = "The runner that rolls out" }
    },
  )

  # Redis, Prometheus and Grafana are missing on purpose: nobody reaches them through the network.
  between = {
    postgresql    = { from = "api", to = "admin", port = 5432, description = "PostgreSQL, by TLS only" }
    admin-metrics = { from = "api", to = "admin", port = 8001, description = "Prometheus asks the admin for its metrics" }
    management    = { from = "admin", to = "api", port = 8000, description = "The management API" }
  }

  # Packages come by HTTP, signed; all else by HTTPS.
  to_outside = { http = 80, https = 443 }
}

resource "oci_core_network_security_group_security_rule" "from_outside" {
  #checkov:skip=CKV_OCI_21:answers shall find their way back; stateless rules would need open ports for them
  for_each = local.from_outside

  network_security_group_id = oci_core_network_security_group.group["public"].id
  description               = each.value.description
  direction                 = "INGRESS"
  protocol                  = local.protocol_number.tcp
  source                    = each.value.source
  source_type               = "CIDR_BLOCK"

  tcp_options {
    destination_port_range {
      min = each.value.port
      max = each.value.port
    }
  }
}

# Without it a connection through a path of smaller packets hangs: "fragmentation needed" has to arrive.
resource "oci_core_network_security_group_security_rule" "path_mtu" {
  #checkov:skip=CKV_OCI_21:answers shall find their way back; stateless rules would need open ports for them
  #checkov:skip=CKV2_OCI_2:ICMP has no port 3389
  network_security_group_id = oci_core_network_security_group.group["public"].id
  description               = "Path MTU discovery"
  direction                 = "INGRESS"
  protocol                  = local.protocol_number.icmp
  source                    = "0.0.0.0/0"
  source_type               = "CIDR_BLOCK"

  icmp_options {
    type = 3
    code = 4
  }
}

resource "oci_core_network_security_group_security_rule" "between_in" {
  #checkov:skip=CKV_OCI_21:answers shall find their way back; stateless rules would need open ports for them
  for_each = local.between

  network_security_group_id = oci_core_network_security_group.group[each.value.to].id
  description               = each.value.description
  direction                 = "INGRESS"
  protocol                  = local.protocol_number.tcp
  source                    = oci_core_network_security_group.group[each.value.from].id
  source_type               = "NETWORK_SECURITY_GROUP"

  tcp_options {
    destination_port_range {
      min = each.value.port
      max = each.value.port
    }
  }
}

resource "oci_core_network_security_group_security_rule" "between_out" {
  for_each = local.between

  network_security_group_id = oci_core_network_security_group.group[each.value.from].id
  description               = each.value.description
  direction                 = "EGRESS"
  protocol                  = local.protocol_number.tcp
  destination               = oci_core_network_security_group.group[each.value.to].id
  destination_type          = "NETWORK_SECURITY_GROUP"

  tcp_options {
    destination_port_range {
      min = each.value.port
      max = each.value.port
    }
  }
}

resource "oci_core_network_security_group_security_rule" "to_outside" {
  for_each = local.to_outside

  network_security_group_id = oci_core_network_security_group.group["public"].id
  description               = "Packages, images, certificates, Oracle's API, Git"
  direction                 = "EGRESS"
  protocol                  = local.protocol_number.tcp
  destination               = "0.0.0.0/0"
  destination_type          = "CIDR_BLOCK"

  tcp_options {
    destination_port_range {
      min = each.value
      max = each.value
    }
  }
}

resource "oci_core_network_security_group_security_rule" "to_oracle" {
  #checkov:skip=CKV2_OCI_2:what goes out to the machine's own link opens nothing
  network_security_group_id = oci_core_network_security_group.group["public"].id
  description               = "Oracle's names, time and metadata, which live on each machine's own link"
  direction                 = "EGRESS"
  protocol                  = "all"
  destination               = "169.254.0.0/16"
  destination_type          = "CIDR_BLOCK"
}

locals {
  protocol_number = { icmp = "1", tcp = "6" }
}
