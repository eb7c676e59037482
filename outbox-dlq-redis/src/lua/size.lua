-- How much is tracked, and since when. What is left over in `first` without a count is passed by.
local oldest = redis.call('ZRANGE', first, 0, 99, 'WITHSCORES')
for i = 1, #oldest, 2 do
    if redis.call('ZSCORE', counts, oldest[i]) then
        return {redis.call('ZCARD', counts), oldest[i + 1]}
    end
end
return {redis.call('ZCARD', counts), false}
