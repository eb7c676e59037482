-- Takes out all that there is of some ids.
local function remove(ids)
    if #ids == 0 then return end
    redis.call('ZREM', counts, unpack(ids))
    redis.call('ZREM', turns, unpack(ids))
    redis.call('ZREM', first, unpack(ids))
    redis.call('HDEL', details, unpack(ids))
end

