resource "oci_budget_budget" "monthly" {
  count = var.monthly_budget > 0 ? 1 : 0

  compartment_id = var.tenancy_ocid # Oracle keeps them at the root
  display_name   = var.name
  description    = "All that the account spends in a month"
  amount         = var.monthly_budget
  reset_period   = "MONTHLY"
  target_type    = "COMPARTMENT"
  targets        = [var.tenancy_ocid]
  freeform_tags  = local.tags
}

resource "oci_budget_alert_rule" "first_cent" {
  count = length(oci_budget_budget.monthly)

  budget_id      = oci_budget_budget.monthly[0].id
  display_name   = "${var.name}-first-cent"
  type           = "ACTUAL"
  threshold      = 1
  threshold_type = "PERCENTAGE"
  recipients     = var.operator_email
  message        = "The account spends money: something is beyond the Always Free limits."
  freeform_tags  = local.tags
}
