-- Reads rows, each with the end of its owner's lease.
local rows = {}
for at = first, #ARGV do
    local row, lease = call('GET', tag .. 'r:' .. ARGV[at]), ''
    if row then
        local owner = owner_of(row)
        if owner ~= '' then
            local life = call('HMGET', tag .. 'u:' .. owner, 'dead', 'until')
            lease = life[1] == '0' and life[2] or ''
        end
    end
    rows[#rows + 1] = row or ''
    rows[#rows + 1] = lease
end
return done(rows)
