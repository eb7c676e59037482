-- The time, in microseconds of the server's clock, and what is a count.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[1]

local function is_count(score)
    local count = tonumber(score)
    return count ~= nil and count >= 1 and count <= 4294967295 and count % 1 == 0
end

