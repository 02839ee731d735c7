# What Oracle would answer, where the configuration reads into the answer.

mock_data "oci_identity_availability_domains" {
  defaults = {
    availability_domains = [{ id = "ad", name = "Uocm:EU-FRANKFURT-1-AD-1", compartment_id = "tenancy" }]
  }
}

mock_data "oci_objectstorage_namespace" {
  defaults = { namespace = "namespace" }
}

mock_data "oci_core_images" {
  defaults = { images = [{ id = "ocid1.image.newest" }, { id = "ocid1.image.older" }] }
}

mock_data "oci_core_private_ips" {
  defaults = { private_ips = [{ id = "ocid1.privateip.primary" }] }
}
