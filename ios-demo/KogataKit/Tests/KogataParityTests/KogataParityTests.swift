import Testing

@testable import KogataParity
