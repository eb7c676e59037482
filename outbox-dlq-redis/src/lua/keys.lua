-- What every script begins with: the keys, and what they are.
--
-- counts   sorted set  event id -> its failures, 1 to 4294967295
-- turns    sorted set  event id -> since when it may be leased: its first failure, or the end of
--                      its latest lease
-- first    sorted set  event id -> its first failure
-- details  hash        event id -> its last failure, then a space and the latest error if any
-- aside    sorted set  what was found among these and is no entry -> its score
--
-- A script is atomic: Redis runs nothing beside it.
local counts, turns, first, details, aside = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

-- How many each key holds. A script that fails half-way is not undone, so all are asked before
-- anything is written: a key of another type has no such size.
local sizes = {
    redis.pcall('ZCARD', counts), redis.pcall('ZCARD', turns), redis.pcall('ZCARD', first),
    redis.pcall('HLEN', details), redis.pcall('ZCARD', aside)
}
for place = 1, 5 do
    local size = sizes[place]
    if type(size) == 'table' then
        local key = KEYS[place]
        local kind, found = key == details and 'hash' or 'zset', redis.call('TYPE', key).ok
        if found == kind or found == 'none' then return size end
        return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
    end
end

local function remove(ids)
    if #ids == 0 then return end
    redis.call('ZREM', counts, unpack(ids))
    redis.call('ZREM', turns, unpack(ids))
    redis.call('ZREM', first, unpack(ids))
    redis.call('HDEL', details, unpack(ids))
end
