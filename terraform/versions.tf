terraform {
  required_version = ">= 1.9.0" # validations that compare two variables

  required_providers {
    oci = {
      source  = "oracle/oci"
      version = "~> 8.28"
    }
  }
}

# Credentials stay in ~/.oci/config, which the console writes for you: none in a variable, none in the state.
provider "oci" {
  config_file_profile = var.oci_profile
  region              = var.region
}
