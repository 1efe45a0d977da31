-- Returns a page of an index of letters, the newest first. ARGV: the index, behind which, how many.
local ids = call('ZREVRANGEBYLEX', tag .. ARGV[first], ARGV[first + 1], '-', 'LIMIT', 0, ARGV[first + 2])
if #ids == 0 then
    return done(ids)
end
return done(call('HMGET', tag .. 'l', unpack(ids)))
