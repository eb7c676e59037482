-- What the scripts that read entries share.

local uuid = '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$'

local function is_id(member)
    return member:find(uuid) ~= nil and member:lower() == member
end

-- Of many members at once; never more than a page, as the stack of Lua is small.
local function scores(key, members)
    return #members > 0 and redis.call('ZMSCORE', key, unpack(members)) or {}
end

local function texts(ids)
    return #ids > 0 and redis.call('HMGET', details, unpack(ids)) or {}
end

-- Moves a member that is not an entry to the key `aside`, and keeps it for an operator.
local function set_aside(member, score)
    remove({member})
    redis.call('ZADD', aside, score, member)
end

-- A member of another key that has no count: left over by us, or foreign.
local function tidy(member, score)
    if is_id(member) then remove({member}) else set_aside(member, score) end
end

-- Whether a member is an entry with this count; if it is not, it is taken out of the way.
local function is_entry(member, count, score)
    if not count then
        tidy(member, score)
    elseif is_id(member) and is_count(count) then
        return true
    else
        set_aside(member, count)
    end
    return false
end

-- Sets aside what a range of good counts does not show, a hundred at a time.
local function sweep()
    for _, range in ipairs({{'-inf', '(1'}, {'(4294967295', '+inf'}}) do
        local bad = redis.call('ZRANGEBYSCORE', counts, range[1], range[2],
            'WITHSCORES', 'LIMIT', 0, 100)
        for i = 1, #bad, 2 do set_aside(bad[i], bad[i + 1]) end
    end
end

-- The entries among members with their counts, as they come from `counts`; the others are set aside.
local function entries_among(found)
    local ids, count_of = {}, {}
    for i = 1, #found, 2 do
        local id, count = found[i], found[i + 1]
        if is_entry(id, count) then ids[#ids + 1], count_of[id] = id, count end
    end
    return ids, count_of
end

-- The turn of each id; the oldest of all for one whose turn another program or an eviction took.
local function turns_of(ids)
    local found = scores(turns, ids)
    for i in ipairs(ids) do found[i] = tonumber(found[i] or 0) end
    return found
end

-- Entries as they are answered: id, count, first failure, details.
local function answer(ids, count_of)
    local since, text, entries = scores(first, ids), texts(ids), {}
    for i, id in ipairs(ids) do
        entries[i] = {id, tonumber(count_of[id]), since[i], text[i]}
    end
    return entries
end

