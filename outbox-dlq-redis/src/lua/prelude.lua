-- The start of every script: the keys, a check of their types, the time, and shared functions.
--
-- counts   sorted set  event id -> its failures, 1 to 4294967295
-- turns    sorted set  event id -> the time from which it may be leased or drained: its first
--                      failure, or the end of its latest lease
-- first    sorted set  event id -> its first failure
-- details  hash        event id -> its last failure, then a space and the latest error if any
-- aside    sorted set  members of the other sorted sets that are not entries -> their score
--
-- Times are microseconds since 1970. An entry is an id in `counts`. An id that only the other keys
-- have is a remainder: it is ignored, and removed when a script finds it.
--
-- A script is atomic: Redis runs no other command while it runs. But what a failed script has written
-- stays, and Redis reports a key of another type only when a command uses it. So all types are checked
-- before anything is written.
local counts, turns, first, details, aside = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

for _, key in ipairs(KEYS) do
    local expected = key == details and 'hash' or 'zset'
    local size = redis.pcall(key == details and 'HLEN' or 'ZCARD', key)
    if type(size) == 'table' then
        local found = redis.call('TYPE', key).ok
        if found == expected or found == 'none' then return size end
        return redis.error_reply(
            'WRONGTYPE ' .. key .. ' is a ' .. found .. ', but must be a ' .. expected)
    end
end

-- The server's clock. ARGV[1]: how far a test has moved it ahead.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[1]

local function is_count(score)
    local count = tonumber(score)
    return count ~= nil and count >= 1 and count <= 4294967295 and count % 1 == 0
end

local uuid = '^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$'

local function is_id(member)
    return member:find(uuid) ~= nil and member:lower() == member
end

-- Removes ids from all keys. At most 1,000 ids, because Lua's stack is small; so do the next two.
local function remove(ids)
    if #ids == 0 then return end
    redis.call('ZREM', counts, unpack(ids))
    redis.call('ZREM', turns, unpack(ids))
    redis.call('ZREM', first, unpack(ids))
    redis.call('HDEL', details, unpack(ids))
end

local function scores(key, members)
    return #members > 0 and redis.call('ZMSCORE', key, unpack(members)) or {}
end

local function texts(ids)
    return #ids > 0 and redis.call('HMGET', details, unpack(ids)) or {}
end

-- Moves a member that is not an entry to `aside`, where an operator finds it.
local function set_aside(member, score)
    remove({member})
    redis.call('ZADD', aside, score, member)
end

-- Whether a member is an entry with this count. A remainder, which has no count, is removed. Any other
-- member that is not an entry is set aside with its count, or else with its score in another key.
local function is_entry(member, count, score)
    if not is_id(member) then
        set_aside(member, count or score)
    elseif not count then
        remove({member})
    elseif not is_count(count) then
        set_aside(member, count)
    else
        return true
    end
    return false
end

-- The turn of each id. An id without a turn, which another program or an eviction removed, comes first.
local function turns_of(ids)
    local found = scores(turns, ids)
    for i in ipairs(ids) do found[i] = tonumber(found[i] or 0) end
    return found
end

-- A call may need several scripts: each returns a page. This is the page that the call asks for.
--   begun   the time of the call's first page. No page looks at later turns or first failures, so that
--           a call takes each entry once, and ends however fast other callers record failures.
--   passed  the last member that the previous page passed, with its score; empty on the first page
--   size    how many members the page may look at
--   most    how many entries it may return
local function page_of_call()
    return {
        begun = tonumber(ARGV[2]) or now, passed = ARGV[3], score = ARGV[4],
        size = tonumber(ARGV[5]), most = tonumber(ARGV[6])
    }
end

-- The next members of a sorted set with scores up to `last`, and their scores. If the passed member is
-- gone or has another score, its place is unknown, so the walk starts at the first member again.
local function walk(page, key, last)
    local from, members, score = 0, {}, {}
    if page.passed ~= '' and redis.call('ZSCORE', key, page.passed) == page.score then
        from = redis.call('ZRANK', key, page.passed) + 1
    end
    local found = redis.call('ZRANGE', key, from, from + page.size - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
        if tonumber(found[i + 1]) > last then break end
        members[#members + 1], score[#score + 1] = found[i], found[i + 1]
    end
    return members, score
end

-- The reply of a page: how many members are set aside, whether there may be more entries, where the
-- next page starts, and the content.
local function page_reply(page, has_more, content)
    return {redis.call('ZCARD', aside), has_more and 1 or 0, string.format('%.0f', page.begun),
        page.passed, page.score, content}
end

-- Entries as a page returns them: id, count, first failure, details.
local function entries(ids, count_of)
    local since, text, rows = scores(first, ids), texts(ids), {}
    for i, id in ipairs(ids) do
        rows[i] = {id, tonumber(count_of[id]), since[i], text[i]}
    end
    return rows
end

-- Sets aside members whose count is out of range, up to a page of them at each end.
local function set_bad_counts_aside(page)
    for _, range in ipairs({{'-inf', '(1'}, {'(4294967295', '+inf'}}) do
        local bad = redis.call('ZRANGEBYSCORE', counts, range[1], range[2],
            'WITHSCORES', 'LIMIT', 0, page.size)
        for i = 1, #bad, 2 do set_aside(bad[i], bad[i + 1]) end
    end
end

-- After the clock went back, first failures may be in the future, and so may their turns. Both are set
-- to the present, up to a page of them. Returns whether there may be more.
local function correct_future_times(page, present)
    local future = redis.call('ZRANGEBYSCORE', first, '(' .. string.format('%.0f', now), '+inf',
        'WITHSCORES', 'LIMIT', 0, page.size)
    for i = 1, #future, 2 do
        local id, score = future[i], future[i + 1]
        if redis.call('ZSCORE', turns, id) == score then redis.call('ZADD', turns, present, id) end
        redis.call('ZADD', first, present, id)
    end
    return #future == 2 * page.size
end

-- H2, H8, H9: the ids that reached the threshold and are not leased, oldest turn first, their counts,
-- and whether there may be more. Looks at no more than a page of members.
local function due_entries(page, threshold)
    local present, due, count_of = math.min(page.begun, now), {}, {}
    -- At `maxmemory` Redis runs a script only if its first write needs no memory. This one deletes a
    -- member that does not exist.
    redis.call('HDEL', details, '')
    set_bad_counts_aside(page)
    -- The walk must not pass the place where a corrected turn will be.
    if correct_future_times(page, present) then return due, count_of, true end

    if redis.call('ZCOUNT', counts, threshold, '+inf') <= page.size then
        -- Few reached the threshold: read all of them, and sort them by turn.
        local found = redis.call('ZRANGEBYSCORE', counts, threshold, '+inf', 'WITHSCORES')
        local ids, turn_of = {}, {}
        for i = 1, #found, 2 do
            local id, count = found[i], found[i + 1]
            if is_entry(id, count) then ids[#ids + 1], count_of[id] = id, count end
        end
        for i, turn in ipairs(turns_of(ids)) do
            turn_of[ids[i]] = turn
            if turn <= present then due[#due + 1] = ids[i] end
        end
        table.sort(due, function(a, b)
            return turn_of[a] < turn_of[b] or (turn_of[a] == turn_of[b] and a < b)
        end)
        for i = #due, page.most + 1, -1 do due[i] = nil end
        return due, count_of, false
    end

    -- Many did, so they are dense among the turns: read a page of turns from the oldest.
    local ids, turn = walk(page, turns, present)
    local count = scores(counts, ids)
    for i, id in ipairs(ids) do
        if is_entry(id, count[i], turn[i]) then
            if tonumber(count[i]) < threshold then
                page.passed, page.score = id, turn[i]
            else
                due[#due + 1], count_of[id] = id, count[i]
                if #due == page.most then break end
            end
        end
    end
    return due, count_of, #ids == page.size
end

