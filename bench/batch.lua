-- wrk: batches of BENCH_BATCH keys of Ringkeep; BENCH_KIND is put, get, or tagged (an atomic put of keys that
-- share a tag). See systems.lua.
local systems = require("systems")
local size = tonumber(os.getenv("BENCH_BATCH"))
local kind = os.getenv("BENCH_KIND")

systems.drive(function(i)
  local operations = {}
  for at = 1, size do
    local key, value = systems.key(i * size + at - 1), systems.value(i * size + at - 1)
    if kind == "get" then
      operations[at] = string.format('{"op":"get","key":"%s"}', key)
    else
      if kind == "tagged" then key = string.format("{tag-%06d}%d", i, at) end
      operations[at] = string.format('{"op":"put","key":"%s","value":"%s"}', key, value)
    end
  end
  local atomic = kind == "tagged" and '"atomic":true,' or ""
  local body = "{" .. atomic .. '"operations":[' .. table.concat(operations, ",") .. "]}"
  return wrk.format("POST", "/v1/batch", nil, body)
end)
