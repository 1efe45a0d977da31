-- Returns up to so many rows of live records that may have something due. ARGV: how many, and behind
-- how many of those whose time has come.
local most, found, seen = tonumber(ARGV[first]), {}, {}
local function add(id, row)
    if not seen[id] then
        seen[id] = true
        found[#found + 1] = without_record(row)
    end
end
for _, id in ipairs(call('ZRANGEBYSCORE', tag .. 'd', '-inf', text(now), 'LIMIT', ARGV[first + 1], most)) do
    local row = call('GET', tag .. 'r:' .. id)
    if row then
        add(id, row)
    end
end
for _, runner in ipairs(call('ZRANGEBYSCORE', tag .. 'u', '-inf', text(now), 'LIMIT', 0, 100)) do
    if #found >= most then
        break
    end
    local owned = tag .. 'o:' .. runner
    -- Other ones each time: rows that cannot be decoded do not keep the rest from their turn.
    for _, id in ipairs(call('SRANDMEMBER', owned, most - #found)) do
        local row = call('GET', tag .. 'r:' .. id)
        if row and is_live(row) and owner_of(row) == runner then
            add(id, row)
        else
            -- Another runner took it.
            call('SREM', owned, id)
        end
    end
end
return done(found)
