id IN (
    -- All ids are one value of 16 bytes each, because a statement takes 32,766 values at most.
    WITH RECURSIVE i (n) AS (
        SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE (n + 2) * 16 <= length(?)
    )
    SELECT substr(?, n * 16 + 1, 16) FROM i
)
