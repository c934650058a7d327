import Testing

@testable import KogataChat
