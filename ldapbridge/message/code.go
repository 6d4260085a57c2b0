package message

// ResultCode is the code of the Op of a last reply, with which it begins. All else is
// the client's to read; a reply that passes by the thousand is not decoded for it.
func ResultCode(op []byte) (Code, error) {
	c := cursor{rest: op}
	reply, err := c.next()
	if err != nil {
		return 0, err
	}
	c = cursor{rest: reply.value}
	value, err := c.expect(tagEnumerated)
	if err != nil {
		return 0, err
	}
	code, err := number(value)
	return Code(code), err
}
