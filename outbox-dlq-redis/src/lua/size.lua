-- H17: how many entries there are, and the oldest first failure.
-- Atomic: one script. The oldest first failure is that of an entry: remainders in `first` are skipped,
-- up to 99 of them.
local oldest = redis.call('ZRANGE', first, 0, 99, 'WITHSCORES')
for i = 1, #oldest, 2 do
    if redis.call('ZSCORE', counts, oldest[i]) then
        return {redis.call('ZCARD', counts), oldest[i + 1]}
    end
end
return {redis.call('ZCARD', counts), false}
