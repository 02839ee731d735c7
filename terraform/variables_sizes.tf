# --- The machines -----------------------------------------------------------------------------------------------

variable "shape" {
  description = "Shape of both machines: VM.Standard.E2.1.Micro (x86, 1 GB) or VM.Standard.A1.Flex (ARM)."
  type        = string
  default     = "VM.Standard.E2.1.Micro"

  validation {
    condition     = contains(["VM.Standard.E2.1.Micro", "VM.Standard.A1.Flex"], var.shape)
    error_message = "shape must be VM.Standard.E2.1.Micro or VM.Standard.A1.Flex."
  }
}

variable "ocpus" {
  description = "Cores of each machine; only VM.Standard.A1.Flex reads it. Always Free: 1."
  type        = number
  default     = 1

  validation {
    condition     = var.ocpus >= 1 && var.ocpus <= 80 && floor(var.ocpus) == var.ocpus
    error_message = "ocpus must be a whole number from 1 to 80."
  }
}

variable "memory_gb" {
  description = "Memory of each machine in GB; only VM.Standard.A1.Flex reads it. Always Free: 6."
  type        = number
  default     = 6

  validation {
    condition     = var.memory_gb >= var.ocpus && var.memory_gb <= 64 * var.ocpus && floor(var.memory_gb) == var.memory_gb
    error_message = "memory_gb must be a whole number from 1 to 64 for each of the ocpus."
  }
}

variable "availability_domain" {
  description = "In which availability domain, counted from 1. Some regions have E2.1.Micro in one of theirs only."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3], var.availability_domain)
    error_message = "availability_domain must be 1, 2 or 3."
  }
}

variable "encrypt_in_transit" {
  description = "Encrypt what goes between the machines and their volumes. Takes effect when a machine is made."
  type        = bool
  default     = true
  nullable    = false
}

variable "boot_volume_gb" {
  description = "Boot volume of each machine in GB. Always Free: 200 GB with all volumes."
  type        = number
  default     = 50

  validation {
    condition     = var.boot_volume_gb >= 50 && var.boot_volume_gb <= 1000 && floor(var.boot_volume_gb) == var.boot_volume_gb
    error_message = "boot_volume_gb must be a whole number from 50 to 1000."
  }
}

variable "ssh_public_keys" {
  description = "Public keys that may log in as `ubuntu`, when a machine is made: yours, and that of the roll-out."
  type        = list(string)

  validation {
    condition = length(var.ssh_public_keys) > 0 && alltrue([
      for key in var.ssh_public_keys : can(regex("^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp[0-9]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [^\n]*)?$", key))
    ])
    error_message = "ssh_public_keys must have at least one public key, each one line as in ~/.ssh/id_ed25519.pub."
  }
}

# --- Data and backups -------------------------------------------------------------------------------------------

variable "data_volume_gb" {
  description = "Volume of PostgreSQL's data in GB. It can grow, and cannot shrink."
  type        = number
  default     = 50

  validation {
    condition     = var.data_volume_gb >= 50 && var.data_volume_gb <= 1000 && floor(var.data_volume_gb) == var.data_volume_gb
    error_message = "data_volume_gb must be a whole number from 50 to 1000."
  }
}

variable "volume_backup_retention_days" {
  description = "Days that the daily backup of the data volume is kept. Always Free: five backups, so at most 4."
  type        = number
  default     = 4

  validation {
    condition     = var.volume_backup_retention_days >= 1 && var.volume_backup_retention_days <= 90 && floor(var.volume_backup_retention_days) == var.volume_backup_retention_days
    error_message = "volume_backup_retention_days must be a whole number from 1 to 90."
  }
}

variable "backup_retention_days" {
  description = "Days that dumps are kept in the bucket, below dumps/. Always Free: 20 GB of objects in all."
  type        = number
  default     = 30

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 3650 && floor(var.backup_retention_days) == var.backup_retention_days
    error_message = "backup_retention_days must be a whole number from 1 to 3650."
  }
}

variable "archive_retention_days" {
  description = "Days that archived requests are kept in the bucket, below archive/."
  type        = number
  default     = 365

  validation {
    condition     = var.archive_retention_days >= 1 && var.archive_retention_days <= 3650 && floor(var.archive_retention_days) == var.archive_retention_days
    error_message = "archive_retention_days must be a whole number from 1 to 3650."
  }
}

variable "allow_emptying_buckets" {
  description = "Whether the admin machine may delete backups. Only for the time before `terraform destroy`."
  type        = bool
  default     = false
  nullable    = false
}
