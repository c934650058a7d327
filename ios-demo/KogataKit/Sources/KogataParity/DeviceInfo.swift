import Foundation
import KogataBundle

extension DeviceReport.Device {
    /// This device.
    public static var current: DeviceReport.Device {
        DeviceReport.Device(
            model: machine(), system: System.current.description,
            memoryBytes: Int(clamping: ProcessInfo.processInfo.physicalMemory))
    }

    /// Such as "iPhone17,1", "Mac16,5" or "x86_64".
    private static func machine() -> String {
        #if os(macOS)
            var size = 0
            sysctlbyname("hw.model", nil, &size, nil, 0)
            var name = [CChar](repeating: 0, count: max(1, size))
            sysctlbyname("hw.model", &name, &size, nil, 0)
            return String(cString: name)
        #else
            // The simulator's own name is that of the Mac.
            if let simulated = ProcessInfo.processInfo.environment["SIMULATOR_MODEL_IDENTIFIER"] {
                return simulated + " (simulator)"
            }
            var system = utsname()
            uname(&system)
            return withUnsafeBytes(of: &system.machine) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
        #endif
    }
}

/// The most memory that this process has used so far, in bytes; nil: unknown.
public func peakMemory() -> Int? {
    #if canImport(Darwin)
        var info = task_vm_info_data_t()
        var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<integer_t>.size)
        let status = withUnsafeMutablePointer(to: &info) {
            $0.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
            }
        }
        // What iOS compares with an app's limit.
        return status == KERN_SUCCESS ? Int(info.ledger_phys_footprint_peak) : nil
    #else
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kibibytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kibibytes * 1024
    #endif
}
