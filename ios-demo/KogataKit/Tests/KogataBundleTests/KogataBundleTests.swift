import Testing

@testable import KogataBundle
