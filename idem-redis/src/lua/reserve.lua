-- Reserves numbers, and returns the last of them.
return changed(text(call('HINCRBY', meta, 'numbers', ARGV[first])))
