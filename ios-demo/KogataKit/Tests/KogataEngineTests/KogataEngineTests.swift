import Testing

@testable import KogataEngine
