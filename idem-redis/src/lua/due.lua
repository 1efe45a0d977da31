-- Returns up to so many rows of live records that may have something due, behind the number of those
-- whose time has come. ARGV: how many, and behind how many of those.
local most, found, seen, count = tonumber(ARGV[first]), {}, {}, 0
local function add(id, row)
    if not seen[id] then
        seen[id] = true
        count = count + 1
        found[count + 1] = without_record(row)
    end
end
local function add_from(behind, limit)
    local ids = call('ZRANGEBYSCORE', tag .. 'd', '-inf', text(now), 'LIMIT', behind, limit)
    for _, id in ipairs(ids) do
        local row = call('GET', tag .. 'r:' .. id)
        if row then
            add(id, row)
        else
            -- Something else removed it.
            call('ZREM', tag .. 'd', id)
        end
    end
    return #ids
end
local behind = tonumber(ARGV[first + 1])
local timely = add_from(behind, most)
found[1] = text(timely)
if timely < most then
    add_from(0, math.min(behind, most - timely))
end
for _, runner in ipairs(call('ZRANGEBYSCORE', tag .. 'u', '-inf', text(now), 'LIMIT', 0, 100)) do
    if count >= most then
        break
    end
    local owned = tag .. 'o:' .. runner
    -- Other ones each time: rows that cannot be decoded do not keep the rest from their turn.
    for _, id in ipairs(call('SRANDMEMBER', owned, most - count)) do
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
