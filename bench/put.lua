-- wrk: writes 128-byte values, each thread through one node. See systems.lua.
local systems = require("systems")
systems.drive(systems.put)
