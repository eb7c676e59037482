-- What every script begins with: the keys, the time, and what is no entry.
--
-- counts   sorted set  event id -> its failures, 1 to 4294967295
-- turns    sorted set  event id -> since when it may be leased: its first failure, or the end of
--                      its latest lease
-- first    sorted set  event id -> its first failure
-- details  hash        event id -> its last failure, then a space and the latest error if any
-- aside    sorted set  what was found among these and is no entry -> its score
--
-- Times are microseconds of the server's clock. A script is atomic: Redis runs nothing beside it.
local counts, turns, first, details, aside = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

-- A script that fails half-way is not undone, so what would fail it is looked for before.
for place, key in ipairs(KEYS) do
    local kind, found = key == details and 'hash' or 'zset', redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
        return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
    end
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[1]

local hex = '[0-9a-f]'
local uuid = '^' .. hex:rep(8) .. ('%-' .. hex:rep(4)):rep(3) .. '%-' .. hex:rep(12) .. '$'

local function is_id(member)
    return #member == 36 and member:find(uuid) ~= nil
end

local function is_count(score)
    local count = tonumber(score)
    return count ~= nil and count >= 1 and count <= 4294967295 and count % 1 == 0
end

local function remove(id)
    redis.call('ZREM', counts, id)
    redis.call('ZREM', turns, id)
    redis.call('ZREM', first, id)
    redis.call('HDEL', details, id)
end

-- Takes a member that is no entry out of the way, and keeps it for a person.
local function set_aside(member, score)
    remove(member)
    redis.call('ZADD', aside, score, member)
end

-- A member of another key that has no count: left over by us, or foreign.
local function tidy(member, score)
    if is_id(member) then remove(member) else set_aside(member, score) end
end

-- Sets aside what a range of good counts does not show, a hundred at a time.
local function sweep()
    for _, range in ipairs({{'-inf', '(1'}, {'(4294967295', '+inf'}}) do
        local bad = redis.call('ZRANGEBYSCORE', counts, range[1], range[2],
            'WITHSCORES', 'LIMIT', 0, 100)
        for i = 1, #bad, 2 do set_aside(bad[i], bad[i + 1]) end
    end
end

-- A turn at the first failure is no lease, even if the clock has gone back since.
local function is_free(id)
    local turn = redis.call('ZSCORE', turns, id)
    return not turn or tonumber(turn) <= now or turn == redis.call('ZSCORE', first, id)
end

-- The place in a sorted set behind a member that had this score when it was passed, else `start`.
local function behind(key, member, score, start)
    if member ~= '' and redis.call('ZSCORE', key, member) == score then
        return redis.call('ZRANK', key, member) + 1
    end
    return start
end

-- An entry as it is answered: id, count, first failure, details.
local function entry(id, count)
    return {id, tonumber(count), redis.call('ZSCORE', first, id), redis.call('HGET', details, id)}
end

