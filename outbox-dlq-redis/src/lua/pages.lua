-- A call of many pages. ARGV: clock, the time of its first page (none for that), the entry up to
-- which the last page came, with its score, page, most. No page looks at what came after the first,
-- so that a call takes no entry twice, and ends however fast others record.
local begun, passed, passed_score = tonumber(ARGV[2]) or now, ARGV[3], ARGV[4]
local page, most = tonumber(ARGV[5]), tonumber(ARGV[6])

-- A page of what has no later score than `last`, and the scores. What was passed and has changed
-- since cannot say where to go on, so the walk begins anew.
local function walk(key, last)
    local from, members, score = 0, {}, {}
    if passed ~= '' and redis.call('ZSCORE', key, passed) == passed_score then
        from = redis.call('ZRANK', key, passed) + 1
    end
    local found = redis.call('ZRANGE', key, from, from + page - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
        if tonumber(found[i + 1]) > last then break end
        members[#members + 1], score[#score + 1] = found[i], found[i + 1]
    end
    return members, score
end

-- What a page answers: how much is set aside, whether there is more and what to ask for then, and
-- what it gives.
local function page_of(more, given)
    return {redis.call('ZCARD', aside), more and 1 or 0, string.format('%.0f', begun), passed,
        passed_score, given}
end

