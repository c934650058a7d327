import Testing

@testable import KogataSampler
