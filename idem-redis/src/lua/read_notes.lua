-- Returns a page of notes, each with its key. ARGV: from where, to where, how many.
local keys = call('ZRANGEBYLEX', tag .. 'nk', ARGV[first], ARGV[first + 1], 'LIMIT', 0, ARGV[first + 2])
if #keys == 0 then
    return done(keys)
end
local notes, values = {}, call('HMGET', tag .. 'n', unpack(keys))
for at, key in ipairs(keys) do
    notes[2 * at - 1], notes[2 * at] = key, values[at]
end
return done(notes)
