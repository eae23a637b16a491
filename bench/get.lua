-- wrk: reads keys that are there, each thread through one node. See systems.lua.
local systems = require("systems")
systems.drive(systems.get)
