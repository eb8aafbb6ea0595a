"""Argo CD's Lua, offline: its scripts in Lua 5.1, with no more than Argo CD gives them."""

from collections.abc import Mapping
from typing import Any

from lupa import lua51

# argo-cd util/lua/lua.go: base, table and package are opened, and `require("os")` gives time and date alone. There is
# no global `os`; and a string has no methods, because their metatable comes with the library `string`.
_RESTRICT = """
local real, limit = os, ...
debug.setmetatable("", nil)
debug.sethook(function() error("the script took too long") end, "", limit)
for _, name in ipairs({"string", "math", "io", "os", "debug", "coroutine", "python"}) do
    package.loaded[name] = nil
    _G[name] = nil
end
package.preload.os = function() return {time = real.time, date = real.date} end
"""
_INSTRUCTIONS = 1_000_000
_STATUSES = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}


def health(script: str, resource: Mapping[str, Any]) -> tuple[str, str]:
    """Return status and message that Argo CD shows for a resource; `Pending deletion` is its own word."""
    if "deletionTimestamp" in resource["metadata"]:
        return "Progressing", "Pending deletion"
    return scripted_health(script, resource)


def scripted_health(script: str, resource: Mapping[str, Any]) -> tuple[str, str]:
    """Return status and message that the script itself gives; AssertionError for what Argo CD would not take."""
    answer = run(script, resource)
    assert isinstance(answer, dict), "a health check returns a table"
    assert answer["status"] in _STATUSES, "Argo CD knows no other"
    assert set(answer) <= {"status", "message"}
    return answer["status"], answer.get("message", "")


def act(script: str, resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resource that an action makes of this one; an empty map that Lua took for a list is a map again."""
    answer = run(script, resource)
    assert isinstance(answer, dict)
    changed: dict[str, Any] = _with_maps(answer, resource)
    return changed


def run(script: str, resource: Mapping[str, Any]) -> Any:
    """Return what a script returns for a resource; lupa's LuaError for one that fails or takes too long."""
    runtime = lua51.LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    runtime.execute(_RESTRICT, _INSTRUCTIONS)
    runtime.globals()["obj"] = _to_lua(runtime, resource)
    return _from_lua(runtime.execute(script))


def _to_lua(runtime: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return runtime.table_from({key: _to_lua(runtime, each) for key, each in value.items() if each is not None})
    if isinstance(value, list):
        return runtime.table_from([_to_lua(runtime, each) for each in value])
    return value


def _from_lua(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return int(value) if isinstance(value, float) and value.is_integer() else value
    items = dict(value.items())
    if all(isinstance(key, int) for key in items):
        assert sorted(items) == list(range(1, len(items) + 1)), "a list without gaps"
        return [_from_lua(items[position]) for position in sorted(items)]
    assert all(isinstance(key, str) for key in items), "gopher-json writes no mixed tables"
    return {key: _from_lua(each) for key, each in items.items()}


def _with_maps(value: Any, original: Any) -> Any:
    if isinstance(value, dict) and isinstance(original, Mapping):
        return {key: _with_maps(each, original.get(key)) for key, each in value.items()}
    if isinstance(value, list) and isinstance(original, list):
        return [_with_maps(each, old) for each, old in zip(value, original, strict=False)] + value[len(original) :]
    return original if value == [] and isinstance(original, Mapping) else value
