# --- The account ------------------------------------------------------------------------------------------------

variable "tenancy_ocid" {
  description = "OCID of the tenancy: console, profile menu, Tenancy."
  type        = string

  validation {
    condition     = can(regex("^ocid1\\.tenancy\\.[a-z0-9.-]+$", var.tenancy_ocid))
    error_message = "tenancy_ocid must be the OCID of a tenancy: ocid1.tenancy.oc1..aaaa…"
  }
}

variable "compartment_ocid" {
  description = "OCID of the compartment to build in. null: the root compartment."
  type        = string
  default     = null

  validation {
    condition     = var.compartment_ocid == null || can(regex("^ocid1\\.(compartment|tenancy)\\.[a-z0-9.-]+$", var.compartment_ocid))
    error_message = "compartment_ocid must be the OCID of a compartment (ocid1.compartment.oc1..aaaa…), or null."
  }
}

variable "region" {
  description = "The account's home region: Always Free machines, groups and policies can be made nowhere else."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be a region's identifier, such as eu-frankfurt-1 or us-ashburn-1."
  }
}

variable "oci_profile" {
  description = "Section of ~/.oci/config with the API key to use."
  type        = string
  default     = "DEFAULT"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+$", var.oci_profile))
    error_message = "oci_profile must be the name of a section of ~/.oci/config, without its brackets."
  }
}

variable "name" {
  description = "What all resources are called, and the value of their tag `project`."
  type        = string
  default     = "rate-limiter"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,28}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 30 lower-case letters, digits and hyphens, and begin with a letter."
  }
}

variable "tags" {
  description = "More freeform tags for every resource. `project`, `role` and `managed-by` are ours."
  type        = map(string)
  default     = {}

  validation {
    # Oracle allows ten in all.
    condition = length(var.tags) <= 7 && alltrue([
      for key, value in var.tags : can(regex("^[A-Za-z0-9_-]{1,100}$", key)) && length(value) <= 256
    ])
    error_message = "tags may have 7 keys of letters, digits, _ and -, with values of at most 256 characters."
  }

  validation {
    condition     = length(setintersection(keys(var.tags), ["project", "role", "managed-by"])) == 0
    error_message = "tags must not contain project, role or managed-by, which are set here."
  }
}

variable "monthly_budget" {
  description = "Budget of the account in its currency; its first hundredth sends a mail to operator_email. 0: no budget."
  type        = number
  default     = 0

  validation {
    condition     = var.monthly_budget >= 0 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget must be a whole number of the account's currency, or 0."
  }
}

# --- The network ------------------------------------------------------------------------------------------------

variable "admin_cidr" {
  description = "From where operators may use SSH: your own address as 203.0.113.7/32 (curl -4 https://ifconfig.me)."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.admin_cidr)) && try(tonumber(split("/", var.admin_cidr)[1]) >= 16, false)
    error_message = "admin_cidr must be an IPv4 network such as 203.0.113.7/32, and no wider than /16: SSH is never for all."
  }
}

variable "deploy_cidr" {
  description = "From where a runner that rolls out may use SSH as well. null: from nowhere."
  type        = string
  default     = null

  validation {
    condition = var.deploy_cidr == null || (
      can(cidrnetmask(var.deploy_cidr)) && try(tonumber(split("/", var.deploy_cidr)[1]) >= 16, false)
    )
    error_message = "deploy_cidr must be null, or an IPv4 network no wider than /16: SSH is never for all."
  }
}

variable "network_cidr" {
  description = "The private network, all of which is the public subnet. Docker has 172.16.0.0/12 for itself."
  type        = string
  default     = "10.0.0.0/24"

  validation {
    condition = (
      can(cidrnetmask(var.network_cidr)) &&
      try(cidrhost(var.network_cidr, 0) == split("/", var.network_cidr)[0], false) &&
      can(regex("^10\\..*/(1[6-9]|2[0-8])$", var.network_cidr))
    )
    error_message = "network_cidr must be a network within 10.0.0.0/8, from /16 to /28, such as 10.0.0.0/24."
  }
}

variable "api_private_ip" {
  description = "Private address of the API machine."
  type        = string
  default     = "10.0.0.10"

  validation {
    condition = try(
      cidrhost("${var.api_private_ip}/${split("/", var.network_cidr)[1]}", 0) == cidrhost(var.network_cidr, 0) &&
      !contains([for host in [0, 1, -1] : cidrhost(var.network_cidr, host)], var.api_private_ip),
      false,
    )
    error_message = "api_private_ip must be an address of network_cidr, and not its first two nor its last, which are Oracle's."
  }
}

variable "admin_private_ip" {
  description = "Private address of the admin machine."
  type        = string
  default     = "10.0.0.20"

  validation {
    condition = try(
      cidrhost("${var.admin_private_ip}/${split("/", var.network_cidr)[1]}", 0) == cidrhost(var.network_cidr, 0) &&
      !contains([for host in [0, 1, -1] : cidrhost(var.network_cidr, host)], var.admin_private_ip),
      false,
    )
    error_message = "admin_private_ip must be an address of network_cidr, and not its first two nor its last, which are Oracle's."
  }

  validation {
    condition     = var.admin_private_ip != var.api_private_ip
    error_message = "admin_private_ip must differ from api_private_ip."
  }
}

# --- The platform -----------------------------------------------------------------------------------------------
# A machine reads these at its first boot; later they are changed on the machine (compute.tf says why).

variable "api_domain" {
  description = "Name by which clients call the API, for its certificate. Empty: none, plain HTTP."
  type        = string
  default     = ""

  validation {
    condition     = var.api_domain == "" || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.api_domain))
    error_message = "api_domain must be a full name in lower case, such as api.example.com, or empty."
  }
}

variable "admin_domain" {
  description = "Name of the admin site, for its certificate. Empty: none, and the site is for a tunnel only."
  type        = string
  default     = ""

  validation {
    condition     = var.admin_domain == "" || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.admin_domain))
    error_message = "admin_domain must be a full name in lower case, such as admin.example.com, or empty."
  }

  validation {
    condition     = var.admin_domain == "" || var.admin_domain != var.api_domain
    error_message = "admin_domain must differ from api_domain: they are two machines."
  }
}

variable "operator_email" {
  description = "Address of the operator: the first login, Let's Encrypt's warnings, the budget's mail."
  type        = string
  sensitive   = true # personal: it stays out of the plans that CI keeps

  validation {
    condition     = can(regex("^[A-Za-z0-9._%+-]+@([a-z0-9-]+\\.)+[a-z]{2,}$", var.operator_email))
    error_message = "operator_email must be a mail address, such as alice@example.com."
  }
}

variable "repository_url" {
  description = "Address of your fork, which the machines clone by HTTPS, without a password."
  type        = string

  validation {
    condition     = can(regex("^https://[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~-]+)+$", var.repository_url))
    error_message = "repository_url must be an https:// address without user or password: https://github.com/alice/rate-limiter"
  }
}

variable "repository_ref" {
  description = "Branch, tag or commit that the machines check out."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.repository_ref))
    error_message = "repository_ref must be a branch, a tag or a commit."
  }
}

variable "image_prefix" {
  description = "Where the images lie, with a slash at its end: alice/ for Docker Hub's user alice."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]+([._:/-][a-z0-9]+)*/$", var.image_prefix))
    error_message = "image_prefix must be a Docker Hub user, or a registry and its path, and end with a slash: alice/"
  }
}

variable "image_tag" {
  description = "Tag of the images that the machines start with: a full commit, or latest."
  type        = string
  default     = "latest"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag))
    error_message = "image_tag must be a tag of an image: letters, digits, _, . and -, at most 128."
  }
}
