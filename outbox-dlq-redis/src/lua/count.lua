-- What is a count.
local function is_count(score)
    local count = tonumber(score)
    return count ~= nil and count >= 1 and count <= 4294967295 and count % 1 == 0
end

