-- What put.lua and get.lua share: the same load for each system, in that system's own requests.
--
-- Run by wrk from this directory. From the environment: BENCH_SYSTEM (ringkeep or etcd), BENCH_ADDRESSES
-- (host:port,host:port,... ; thread i drives the i-th, so that all nodes coordinate equally), BENCH_KEYS,
-- BENCH_GENERATION (told apart in values, so that a read back shows who wrote), BENCH_FIRST (which address
-- the first thread takes). Key i and its value are made as in quick.py.

local systems = {}

local keys = tonumber(os.getenv("BENCH_KEYS"))
local generation = tonumber(os.getenv("BENCH_GENERATION"))
local addresses = {}
for each in os.getenv("BENCH_ADDRESSES"):gmatch("[^,]+") do addresses[#addresses + 1] = each end
local etcd = os.getenv("BENCH_SYSTEM") == "etcd"

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local word = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 18, 0, -6 do
      local at = math.floor(word / 2 ^ shift) % 64 + 1
      out[#out + 1] = alphabet:sub(at, at)
    end
    if not c then out[#out] = "=" end
    if not b then out[#out - 1] = "=" end
  end
  return table.concat(out)
end

function systems.key(i) return string.format("key-%08d", i) end

function systems.value(i)
  local text = string.format("%08d-%06d-", i, generation)
  return text .. string.rep("v", 128 - #text)
end

function systems.put(i)
  if etcd then
    local body = string.format('{"key":"%s","value":"%s"}', base64(systems.key(i)), base64(systems.value(i)))
    return wrk.format("POST", "/v3/kv/put", nil, body)
  end
  return wrk.format("PUT", "/v1/kv/" .. systems.key(i), nil, systems.value(i))
end

function systems.get(i)
  if etcd then
    return wrk.format("POST", "/v3/kv/range", nil, string.format('{"key":"%s"}', base64(systems.key(i))))
  end
  return wrk.format("GET", "/v1/kv/" .. systems.key(i))
end

local threads = 0

-- Each thread goes through its own share of the keys, again and again: no two write the same key at once.
function systems.drive(make)
  function setup(thread)
    local first = tonumber(os.getenv("BENCH_FIRST"))
    local address = addresses[(first + threads) % #addresses + 1]
    local host, port = address:match("(.*):(%d+)")
    thread.addr = wrk.lookup(host, port)[1]
    thread:set("host", address)
    thread:set("start", math.floor(keys * threads / #addresses))
    thread:set("count", math.floor(keys / #addresses))
    threads = threads + 1
  end

  local ready = {}
  local at = 0

  function init()
    wrk.headers["Host"] = host -- the node's own: it refuses others
    for i = 0, count - 1 do ready[i] = make(start + i) end
  end

  function request()
    local chosen = ready[at]
    at = at + 1
    if at == count then at = 0 end
    return chosen
  end

  function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
      'RESULT {"requests":%d,"microseconds":%d,"bytes":%d,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,' ..
      '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
  end
end

return systems
