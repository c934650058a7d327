import Testing

@testable import KogataTokenizer
