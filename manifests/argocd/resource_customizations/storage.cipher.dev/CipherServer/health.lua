-- CipherServer (group storage.cipher.dev) is kstatus-shaped: Ready sums up, Reconciling and Stalled are abnormal-true and
-- never stand together, and status.observedGeneration moves when a generation is finished, by success or by a stall.
-- This script says Healthy where kstatus says Current, Degraded where it says Failed, else Progressing.
local generation = obj.metadata.generation
local status = obj.status or {}

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(condition)
  return condition ~= nil and condition.status == "True"
end

local function is_about_this_spec(condition)
  return condition ~= nil and condition.observedGeneration == generation
end

-- Argo CD decides this one by itself; it stands here for whoever runs the script alone.
if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "Pending deletion" }
end

if is_true(conditions["Reconciling"]) and is_about_this_spec(conditions["Reconciling"]) then
  return { status = "Progressing", message = conditions["Reconciling"].message }
end

if is_true(conditions["Reconciling"]) or status.observedGeneration ~= generation then
  return { status = "Progressing", message = "Waiting for the operator to finish the latest spec" }
end

if is_true(conditions["Stalled"]) then
  return { status = "Degraded", message = conditions["Stalled"].message }
end

if is_true(conditions["Ready"]) and is_about_this_spec(conditions["Ready"]) then
  return { status = "Healthy", message = conditions["Ready"].message }
end

return { status = "Progressing", message = "Waiting for the operator to say whether it is ready" }
