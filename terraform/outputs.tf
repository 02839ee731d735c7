locals {
  public_ip = { for role, address in oci_core_public_ip.machine : role => address.ip_address }
}

output "addresses" {
  description = "Public addresses of the machines. They stay when a machine is replaced."
  value       = local.public_ip
}

output "dns_records" {
  description = "What to enter at your DNS provider, before certificates can be had."
  value = [
    for role, domain in { api = var.api_domain, admin = var.admin_domain } :
    "${domain}. 300 IN A ${local.public_ip[role]}" if domain != ""
  ]
}

output "urls" {
  description = "Where the platform answers. Without a domain, and so without TLS, nobody logs in over the network."
  value = {
    api   = var.api_domain == "" ? "http://${local.public_ip.api}/docs" : "https://${var.api_domain}/docs"
    admin = var.admin_domain == "" ? "http://localhost:8080/admin/, through its tunnel" : "https://${var.admin_domain}/admin/"
  }
}

output "ssh" {
  description = "How to log in, from admin_cidr."
  value       = { for role, address in local.public_ip : role => "ssh ubuntu@${address}" }
}

output "tunnels" {
  description = "What no port is open for: run it, and open the address on your own machine."
  value = {
    grafana    = "ssh -N -L 3000:127.0.0.1:3000 ubuntu@${local.public_ip.api}   # http://localhost:3000"
    prometheus = "ssh -N -L 9090:127.0.0.1:9090 ubuntu@${local.public_ip.api}   # http://localhost:9090"
    admin      = "ssh -N -L 8080:127.0.0.1:80 ubuntu@${local.public_ip.admin}   # http://localhost:8080/admin/"
    management = "ssh -N -L 8000:${var.api_private_ip}:8000 ubuntu@${local.public_ip.api}   # http://localhost:8000/docs"
  }
}

output "first_boot" {
  description = "How to watch a machine set itself up, which takes some minutes."
  value = {
    for role, address in local.public_ip :
    role => "ssh ubuntu@${address} sudo tail -n +1 -F /var/log/cloud-init-output.log"
  }
}

output "buckets" {
  description = "Where dumps and archives lie, and what the machines hand to each other."
  value = {
    backups  = oci_objectstorage_bucket.backups.name
    handover = oci_objectstorage_bucket.handover.name
  }
}

output "destroy" {
  description = "How to remove all of it, backups included. A bucket that holds anything stops `terraform destroy`, on purpose."
  value       = <<-EOT
    terraform apply -var allow_emptying_buckets=true
    ssh ubuntu@${local.public_ip.admin} sudo /opt/rate-limiter/deploy/empty-buckets.sh --yes
    terraform destroy
    # Oracle keeps the last daily backups of the data volume, and deletes them within ${var.volume_backup_retention_days} day(s) by itself. At once:
    oci bv backup list --compartment-id ${local.compartment_id} --volume-id ${oci_core_volume.data.id} --query 'data[].id'
    oci bv backup delete --volume-backup-id OCID
  EOT
}
