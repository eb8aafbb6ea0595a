-- A suspended storage is left alone, so nothing can be asked of it but to resume. One that is being deleted must not be
-- suspended: the operator would let it go and leave everything on the server.
local spec = obj.spec or {}
local user = spec.user or {}
local suspended = spec.suspend == true
local deleting = obj.metadata.deletionTimestamp ~= nil
local own_password = user.mode ~= "Shared" and user.passwordSecretRef == nil
local observed = spec.managementPolicy == "Observe"

local actions = {}
actions["reconcile"] = {
  displayName = "Reconcile now",
  iconClass = "fa fa-fw fa-sync",
  disabled = suspended,
}
actions["suspend"] = {
  displayName = "Suspend",
  iconClass = "fa fa-fw fa-pause",
  disabled = suspended or deleting,
}
actions["resume"] = {
  displayName = "Resume",
  iconClass = "fa fa-fw fa-play",
  disabled = not suspended,
}
actions["rotate-password"] = {
  displayName = "Rotate password",
  iconClass = "fa fa-fw fa-key",
  disabled = suspended or deleting or observed or not own_password,
}
return actions
