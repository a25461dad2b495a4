module claviger.example/client-go

go 1.25
