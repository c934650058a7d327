print("kogata-swift")
