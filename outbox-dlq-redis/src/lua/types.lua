-- A script that fails half-way is not undone, so one that writes to many keys first asks each how
-- much it holds, without which a key of another type would be found too late.
for place = 1, 5 do
    local key, kind = KEYS[place], place == 4 and 'hash' or 'zset'
    local size = redis.pcall(kind == 'hash' and 'HLEN' or 'ZCARD', key)
    if type(size) == 'table' then
        local found = redis.call('TYPE', key).ok
        if found == kind or found == 'none' then return size end
        return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
    end
end

