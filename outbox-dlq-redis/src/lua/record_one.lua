-- H1, H3, H10, H11: one more failure of one id; ARGV: clock, id, error text. As `record.lua` for a
-- batch of one, but a heap that lost one of its keys is not repaired.
-- Atomic: one script, and what it reads or writes first is where there is no entry yet, as there.
local id, text, stamp = ARGV[2], ARGV[3], string.format('%.0f', now)
local count = redis.call('ZSCORE', counts, id)
local times = tonumber(count)
if count and not (times >= 1 and times <= 4294967295 and times % 1 == 0) then
    redis.call('ZADD', aside, count, id)
    times = nil
end
if times then
    local before, told = (redis.call('HMGET', details, id)[1] or ''):match('^(%d*)[^ ]*(.*)$')
    -- A clock that went back does not move the last failure.
    if (tonumber(before) or 0) > now then stamp = before end
    if text == '' then text = told end
else
    times = 0
    redis.call('ZADD', first, stamp, id)
    redis.call('ZADD', turns, stamp, id)
end
redis.call('HSET', details, id, stamp .. text)
redis.call('ZADD', counts, math.min(times + 1, 4294967295), id)
