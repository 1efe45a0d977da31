-- Writes notes if others are as expected. ARGV: how many are expected, three arguments for each, how
-- many changes, four for each.
local at = first + 1
for _ = 1, tonumber(ARGV[first]) do
    local value = call('HGET', tag .. 'n', ARGV[at])
    if (ARGV[at + 1] == '1') ~= (value ~= false) or (value and value ~= ARGV[at + 2]) then
        return done('0')
    end
    at = at + 3
end
write_notes(at + 1, tonumber(ARGV[at]))
return changed('1')
