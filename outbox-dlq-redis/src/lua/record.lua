-- H1, H3, H7, H10, H11: one more failure of each id; ARGV: clock, then id and error text by turns.
-- A text is empty or begins with a space, as it is stored. A count that cannot be one is set aside
-- and begins anew.
-- Atomic: one script, and nothing in it can fail once it has begun to write.
local stamp = string.format('%.0f', now)
for i = 2, #ARGV, 2 do
    local id, text = ARGV[i], ARGV[i + 1]
    local count = tonumber(redis.call('ZINCRBY', counts, 1, id))
    if count == 4294967296 then
        redis.call('ZADD', counts, 4294967295, id)
    elseif not is_count(count) then
        set_aside(id, count - 1)
        redis.call('ZADD', counts, 1, id)
        count = 1
    end
    if count == 1 then
        redis.call('ZADD', turns, now, id)
        redis.call('ZADD', first, now, id)
        redis.call('HSET', details, id, stamp .. text)
    else
        -- If another program or an eviction took one of the keys, the entry is mended here.
        redis.call('ZADD', turns, 'NX', now, id)
        redis.call('ZADD', first, 'NX', now, id)
        local before = redis.call('HGET', details, id) or ''
        local last = before:match('^%d+') or stamp
        if text == '' then text = before:match(' .*$') or '' end
        redis.call('HSET', details, id, (tonumber(last) > now and last or stamp) .. text)
    end
end
